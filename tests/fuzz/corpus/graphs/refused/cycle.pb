
:
xPlaceholder*
dtype0*
shape:

aAddV2bx

bRelua

yRelub