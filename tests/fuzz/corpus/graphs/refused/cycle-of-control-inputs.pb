
:
xPlaceholder*
dtype0*
shape:

aRelux^b

bRelux^a

yAddV2ab