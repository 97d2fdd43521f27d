
0
cConst*
dtype0*
valueBjÀ

yIdentityc