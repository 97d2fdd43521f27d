
:
xPlaceholder*
dtype0*
shape:

yReluy

zReluy