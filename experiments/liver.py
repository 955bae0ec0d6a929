"""Liver: isotropic nuclei and canaliculi, two channels, from planes eight pixels apart (Supp. Fig. 18).

python experiments/liver.py --record                          # simulated, minutes on two cores
python experiments/liver.py --scale paper                     # the sizes of the paper, for a GPU
python experiments/liver.py --data DIR --axes ZYX             # the published images
"""

from recorded import main

main("liver", __doc__)
