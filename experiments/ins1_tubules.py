"""INS-1 tubules: filaments below the diffraction limit, against the image itself (Main Fig. 4, Supp. Fig. 19).

python experiments/ins1_tubules.py --record                          # simulated, minutes on two cores
python experiments/ins1_tubules.py --scale paper                     # the sizes of the paper, for a GPU
python experiments/ins1_tubules.py --data DIR --axes ZYX             # the published images
"""

from recorded import main

main("ins1-tubules", __doc__)
