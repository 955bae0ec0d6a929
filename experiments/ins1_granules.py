"""INS-1 granules: small touching blobs, against the image itself (Main Fig. 4, Supp. Fig. 19).

python experiments/ins1_granules.py --record                          # simulated, minutes on two cores
python experiments/ins1_granules.py --scale paper                     # the sizes of the paper, for a GPU
python experiments/ins1_granules.py --data DIR --axes ZYX             # the published images
"""

from recorded import main

main("ins1-granules", __doc__)
