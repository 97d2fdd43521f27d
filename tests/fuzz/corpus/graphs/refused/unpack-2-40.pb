
:
xPlaceholder*
dtype0*
shape:
*
yUnpackx*
num€€€€€ *

axis