"""Drosophila: isotropic nuclei from planes five pixels apart, against bicubic interpolation (Supp. Figs. 14, 15).

python experiments/drosophila.py --record                          # simulated, minutes on two cores
python experiments/drosophila.py --scale paper                     # the sizes of the paper, for a GPU
python experiments/drosophila.py --data DIR --axes ZYX             # the published images
"""

from recorded import main

main("drosophila", __doc__)
