
8
cConst*
dtype0*
valueB:
ûÿÿÿÿÿÿÿÿ

yIdentityc