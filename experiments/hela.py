"""HeLa: a dense net of tubules below the diffraction limit, against the image itself (Main Fig. 4).

python experiments/hela.py --record                          # simulated, minutes on two cores
python experiments/hela.py --scale paper                     # the sizes of the paper, for a GPU
python experiments/hela.py --data DIR --axes ZYX             # the published images
"""

from recorded import main

main("hela", __doc__)
