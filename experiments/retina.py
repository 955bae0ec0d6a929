"""Retina: isotropic nuclei and envelopes, two channels, from planes 10.2 pixels apart (Supp. Fig. 18).

python experiments/retina.py --record                          # simulated, minutes on two cores
python experiments/retina.py --scale paper                     # the sizes of the paper, for a GPU
python experiments/retina.py --data DIR --axes ZYX             # the published images
"""

from recorded import main

main("retina", __doc__)
