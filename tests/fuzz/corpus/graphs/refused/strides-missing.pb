
:
xPlaceholder*
dtype0*
shape:
5
yMaxPoolx*
ksize
*
paddingSAME