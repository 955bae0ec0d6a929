"""Images in and out: an array with axes and voxel size, read, written and paired."""
