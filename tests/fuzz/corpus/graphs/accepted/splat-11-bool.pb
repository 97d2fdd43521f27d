
/
cConst*
dtype0
*
valueB
Z

yIdentityc