
:
xPlaceholder*
dtype0*
shape:
,
cConst*
dtype0*
value
B

yReluc