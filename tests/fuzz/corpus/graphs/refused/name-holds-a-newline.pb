
:
xPlaceholder*
dtype0*
shape:

a
bRelu