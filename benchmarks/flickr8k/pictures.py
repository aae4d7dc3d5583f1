"""How much the pictures of distilled sets still look like the photos that they began as.

python benchmarks/flickr8k/pictures.py IMAGES RUN/distilled [RUN/distilled ...]

IMAGES is the folder of the photos. Prints a Markdown table: over the pairs of each set, the mean of

- change: root mean square difference from the photo, in grey levels of 255;
- PSNR: the same on a logarithmic scale, in dB; more is nearer to the photo;
- roughness: mean square difference between neighbouring pixels over that of the photo; 1 is as smooth as the photo;
- outside: share of the values that no photo has, below 0 or above 255, which a file of pixels would cut off.
"""

import sys
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.functional import to_tensor

from pairstill.distill.features_first import roughness
from pairstill.distilled import DistilledPhase, DistilledSet
from pairstill.report.tables import markdown_table

GREY = 255


def photos_of(phase: DistilledPhase, folder: Path) -> Tensor:
    """Return the photos that a phase's pairs began as, (pairs, 3, size, size), from 0 to 255."""
    size = phase.images.shape[-1]
    photos = []
    for source in phase.sources:
        with Image.open(folder / source) as photo:
            if photo.size != (size, size):
                raise SystemExit(
                    f"{folder / source} has {photo.size} pixels, the pairs {size}; resize the photos first"
                )
            photos.append(to_tensor(photo.convert("RGB")) * GREY)
    return torch.stack(photos)


def main(images: Path, sets: list[Path]) -> None:
    """Print the table."""
    lines = []
    for path in sets:
        distilled = DistilledSet.load(path)
        mean, std = (torch.tensor(distilled.image_encoder[key])[:, None, None] for key in ("mean", "std"))
        changes, rough, outside = [], [], []
        for phase in distilled.phases:
            photos, made = photos_of(phase, images), (phase.images * std + mean) * GREY
            changes += (made - photos).square().mean((1, 2, 3)).sqrt().tolist()
            rough += (roughness(made) / roughness(photos)).tolist()
            outside += ((made < -0.5) | (made > GREY + 0.5)).float().mean((1, 2, 3)).tolist()
        change = torch.tensor(changes)
        psnr = 20 * (GREY / change).log10().mean()
        cells = [f"{change.mean():.1f}", f"{psnr:.1f} dB", f"{torch.tensor(rough).mean():.2f}"]
        lines.append([str(path.parent), *cells, f"{100 * torch.tensor(outside).mean():.1f} %"])
    print(markdown_table(["set", "change", "PSNR", "roughness", "outside"], lines))


if __name__ == "__main__":
    main(Path(sys.argv[1]), [Path(argument) for argument in sys.argv[2:]])
