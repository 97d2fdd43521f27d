
:
xPlaceholder*
dtype0*
shape:
?
pPlaceholder*
dtype0* 
shape:€€€€€ 

yRelup