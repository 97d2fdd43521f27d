
0
cConst*
dtype0*
valueBj€x

yIdentityc