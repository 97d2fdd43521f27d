
:
xPlaceholder*
dtype0*
shape:


ÿþRelu