
:
xPlaceholder*
dtype0*
shape:
S
yMaxPoolx*
strides
ÿÿÿÿÿÿÿÿÿ*
paddingSAME*
ksize
