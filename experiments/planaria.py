"""Planaria: denoising crowded nuclei at three light levels, against non-local means (Supp. Tabs. 1, 2, Supp. Fig. 4).

python experiments/planaria.py --record                          # simulated, minutes on two cores
python experiments/planaria.py --scale paper                     # the sizes of the paper, for a GPU
python experiments/planaria.py --data DIR --axes ZYX             # the published images
"""

from recorded import main

main("planaria", __doc__)
