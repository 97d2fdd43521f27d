
:
xPlaceholder*
dtype0*
shape:

yRelux

yRelu6x