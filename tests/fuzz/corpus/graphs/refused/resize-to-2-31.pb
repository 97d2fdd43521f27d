
:
xPlaceholder*
dtype0*
shape:
7
k0Const*
dtype0*
valueB"ÿÿÿÿÿÿ

yResizeBilinearxk0