"""Define a thin network with residual blocks and BatchNorm, for tests of any width."""

from functools import partial

from fsl_sage_flwr.models.cifar_resnet import cifar_resnet

SHAPE = (3, 8, 8)
# ``layer2`` gets (4, 8, 8), ``layer3`` (8, 4, 4).
thin_resnet = partial(cifar_resnet, SHAPE, 10, depth=8, planes=4)
