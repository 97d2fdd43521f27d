
:
xPlaceholder*
dtype0*
shape:
?
k0Const*
dtype0*%
valueB"ÿÿÿÿÿÿÿÿÿÿÿÿ

yTilexk0