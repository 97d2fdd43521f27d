
6
cConst*
dtype0*
valueB2š™™™™™¹?

yIdentityc