
4
cConst*
dtype0	*
valueB	R€€€€€ 

yIdentityc