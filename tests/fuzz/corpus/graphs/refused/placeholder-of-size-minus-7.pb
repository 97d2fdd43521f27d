
:
xPlaceholder*
dtype0*
shape:
C
pPlaceholder*
dtype0*$
shape:ùÿÿÿÿÿÿÿÿ

yRelup