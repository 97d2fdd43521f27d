
:
xPlaceholder*
dtype0*
shape:
3
cConst*
dtype0*
valueB€€€€j

yReluc