
0
cConst*
dtype0*
valueB:È

yIdentityc