
:
xPlaceholder*
dtype0*
shape:
2
cConst*
dtype0	*
valueB	€€€@R

yReluc