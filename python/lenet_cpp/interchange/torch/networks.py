"""The networks themselves, with the parameter names that their files have everywhere."""

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 - PyTorch's own convention


class LeNet(nn.Module):
    """LeNet as :class:`lenet_cpp.models.lenet.LeNet` has it, with the same parameter names."""

    def __init__(self, num_classes: int = 10) -> None:
        """Make the layers, with PyTorch's default initialisation."""
        super().__init__()
        self.conv1 = nn.Conv2d(1, 6, kernel_size=5, padding=2)
        self.conv2 = nn.Conv2d(6, 16, kernel_size=5)
        self.linear1 = nn.Linear(16 * 5 * 5, 120)
        self.linear2 = nn.Linear(120, 84)
        self.linear3 = nn.Linear(84, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Compute the logits, float32 [N, num_classes], of [N, 1, 28, 28] with pixels in [0, 1]."""
        x = F.relu(F.max_pool2d(F.relu(self.conv1(x)), 2))
        x = F.max_pool2d(self.conv2(x), 2)
        x = torch.flatten(x, start_dim=1)
        x = F.relu(self.linear1(x))
        x = F.relu(self.linear2(x))
        return self.linear3(x)


class _BasicBlock(nn.Module):
    """Two 3x3 convolutions and the shortcut around them."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample = nn.Sequential()  # changes nothing
        if stride != 1 or inputs != outputs:
            projection = nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False)
            self.downsample = nn.Sequential(projection, nn.BatchNorm2d(outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        inner = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(inner)) + self.downsample(x))


class ResNet18(nn.Module):
    """ResNet of 18 layers, whose parameters have the names that torchvision gives them.

    After K. He, X. Zhang, S. Ren and J. Sun, "Deep residual learning for image recognition", CVPR
    2016. So files of torchvision's ``resnet18`` load into it, and the other way round.
    """

    def __init__(self, num_classes: int = 2) -> None:
        """Make the layers; convolutions are initialised as He et al. proposed in 2015."""
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        widths = (64, 64, 128, 256, 512)
        for stage in range(1, 5):
            inputs, outputs = widths[stage - 1], widths[stage]
            first = _BasicBlock(inputs, outputs, stride=1 if stage == 1 else 2)
            blocks = nn.Sequential(first, _BasicBlock(outputs, outputs, stride=1))
            self.add_module(f"layer{stage}", blocks)
        self.fc = nn.Linear(512, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Compute the logits, float32 [N, num_classes], of [N, 3, H, W] normalised for ImageNet."""
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, stride=2, padding=1)
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(torch.flatten(F.adaptive_avg_pool2d(x, 1), start_dim=1))
