
:
xPlaceholder*
dtype0*
shape:
0
c0Const*
dtype0*
valueB€€€
0
c1Const*
dtype0*
valueB€€€
0
c2Const*
dtype0*
valueB€€€
0
c3Const*
dtype0*
valueB€€€
0
c4Const*
dtype0*
valueB€€€
0
c5Const*
dtype0*
valueB€€€
0
c6Const*
dtype0*
valueB€€€
0
c7Const*
dtype0*
valueB€€€
0
c8Const*
dtype0*
valueB€€€
0
c9Const*
dtype0*
valueB€€€
1
c10Const*
dtype0*
valueB€€€
1
c11Const*
dtype0*
valueB€€€
1
c12Const*
dtype0*
valueB€€€
1
c13Const*
dtype0*
valueB€€€
1
c14Const*
dtype0*
valueB€€€
1
c15Const*
dtype0*
valueB€€€
1
c16Const*
dtype0*
valueB€€€
]
yAddNc0c1c2c3c4c5c6c7c8c9c10c11c12c13c14c15c16*
N