"""Versions of the default domain that cases name: 12 and 13 are converted for training, 14 to 21 train as they are."""

ALL = tuple(range(12, 22))  # one case per operator; its variants take SOME
SOME = (12, 18, 21)
FROM_13 = (13, 17, 18, 21)
FROM_14 = (14, 15, 16, 17, 18, 19, 20, 21)
OLD_AND_NEW = (14, 17, 18, 21)
FROM_18 = (18, 19, 20, 21)
FROM_20 = (20, 21)
AXES_AS_ATTRIBUTE = (12, 17)  # reductions other than ReduceSum
AXES_AS_INPUT = (18, 21)
EVERY_AXES_AS_ATTRIBUTE = (12, 13, 14, 15, 16, 17)
EVERY_AXES_AS_INPUT = (18, 19, 20, 21)
ENDS = (12, 21)  # converted to 17, and the newest: both spellings of every operator that decompositions write
