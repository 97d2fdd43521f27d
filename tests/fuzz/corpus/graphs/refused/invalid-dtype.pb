
:
xPlaceholder*
dtype0*
shape:
,
cConst*
dtype0*
value
BM

yReluc