"""Fly wing: the epithelium of a stack projected, against maximum and non-local means (Supp. Tab. 6, Supp. Fig. 10).

python experiments/flywing.py --record                          # simulated, minutes on two cores
python experiments/flywing.py --scale paper                     # the sizes of the paper, for a GPU
python experiments/flywing.py --data DIR --axes ZYX             # the published images
"""

from recorded import main

main("flywing", __doc__)
