
:
xPlaceholder*
dtype0*
shape:
H
yMaxPoolx*
strides1221*
paddingSAME*
ksize
