
:
xPlaceholder*
dtype0*
shape:
O
yAvgPoolx*
strides
*
paddingSAME*
ksize
	€€€€€ 