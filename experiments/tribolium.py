"""Tribolium: denoising nuclei on the shell of an embryo at three light levels (Supp. Tab. 4).

python experiments/tribolium.py --record                          # simulated, minutes on two cores
python experiments/tribolium.py --scale paper                     # the sizes of the paper, for a GPU
python experiments/tribolium.py --data DIR --axes ZYX             # the published images
"""

from recorded import main

main("tribolium", __doc__)
