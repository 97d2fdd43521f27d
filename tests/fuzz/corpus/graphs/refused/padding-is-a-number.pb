
:
xPlaceholder*
dtype0*
shape:
F
yMaxPoolx*
strides
*
padding*
ksize
