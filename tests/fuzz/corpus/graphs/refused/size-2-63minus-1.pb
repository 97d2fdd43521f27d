
:
xPlaceholder*
dtype0*
shape:
4
cConst*
dtype0*
valueB
ÿÿÿÿÿÿÿÿ

yReluc