"""Where methods come from: one BibTeX-able record a citation key."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Reference:
    """A paper: authors, title, venue, year, identifier (arXiv number or DOI)."""

    key: str
    authors: str
    title: str
    venue: str
    year: int
    identifier: str = ""

    def text(self) -> str:
        """One line for people."""
        where = f" {self.identifier}" if self.identifier else ""
        return f"{self.authors}: {self.title}. {self.venue}, {self.year}.{where}"

    def bibtex(self) -> str:
        """BibTeX entry."""
        fields = {
            "author": self.authors.replace(", ", " and "),
            "title": "{" + self.title + "}",
            "journal": self.venue,
            "year": str(self.year),
            "note": self.identifier,
        }
        body = ",\n".join(f"  {k} = {{{v}}}" for k, v in fields.items() if v)
        return f"@article{{{self.key},\n{body}\n}}"


_ALL = [
    Reference(
        "ho2020ddpm",
        "J. Ho, A. Jain, P. Abbeel",
        "Denoising Diffusion Probabilistic Models",
        "NeurIPS",
        2020,
        "arXiv:2006.11239",
    ),
    Reference(
        "song2021ddim",
        "J. Song, C. Meng, S. Ermon",
        "Denoising Diffusion Implicit Models",
        "ICLR",
        2021,
        "arXiv:2010.02502",
    ),
    Reference(
        "song2021sde",
        "Y. Song, J. Sohl-Dickstein, D. P. Kingma, A. Kumar, S. Ermon, B. Poole",
        "Score-Based Generative Modeling through Stochastic Differential Equations",
        "ICLR",
        2021,
        "arXiv:2011.13456",
    ),
    Reference(
        "karras2022edm",
        "T. Karras, M. Aittala, T. Aila, S. Laine",
        "Elucidating the Design Space of Diffusion-Based Generative Models",
        "NeurIPS",
        2022,
        "arXiv:2206.00364",
    ),
    Reference(
        "lu2022dpmsolver",
        "C. Lu, Y. Zhou, F. Bao, J. Chen, C. Li, J. Zhu",
        "DPM-Solver: A Fast ODE Solver for Diffusion Probabilistic Model Sampling in "
        "Around 10 Steps",
        "NeurIPS",
        2022,
        "arXiv:2206.00927",
    ),
    Reference(
        "lu2022dpmsolverpp",
        "C. Lu, Y. Zhou, F. Bao, J. Chen, C. Li, J. Zhu",
        "DPM-Solver++: Fast Solver for Guided Sampling of Diffusion Probabilistic Models",
        "arXiv",
        2022,
        "arXiv:2211.01095",
    ),
    Reference(
        "zhang2023deis",
        "Q. Zhang, Y. Chen",
        "Fast Sampling of Diffusion Models with Exponential Integrator",
        "ICLR",
        2023,
        "arXiv:2204.13902",
    ),
    Reference(
        "zhao2023unipc",
        "W. Zhao, L. Bai, Y. Rao, J. Zhou, J. Lu",
        "UniPC: A Unified Predictor-Corrector Framework for Fast Sampling of Diffusion Models",
        "NeurIPS",
        2023,
        "arXiv:2302.04867",
    ),
    Reference(
        "liu2022pndm",
        "L. Liu, Y. Ren, Z. Lin, Z. Zhao",
        "Pseudo Numerical Methods for Diffusion Models on Manifolds",
        "ICLR",
        2022,
        "arXiv:2202.09778",
    ),
    Reference(
        "xue2023sasolver",
        "S. Xue, M. Yi, W. Luo, S. Zhang, J. Sun, Z. Li, Z.-M. Ma",
        "SA-Solver: Stochastic Adams Solver for Fast Sampling of Diffusion Models",
        "NeurIPS",
        2023,
        "arXiv:2309.05019",
    ),
    Reference(
        "xu2023restart",
        "Y. Xu, M. Deng, X. Cheng, Y. Tian, Z. Liu, T. Jaakkola",
        "Restart Sampling for Improving Generative Processes",
        "NeurIPS",
        2023,
        "arXiv:2306.14878",
    ),
    Reference(
        "gonzalez2023seeds",
        "M. Gonzalez, N. Fernandez, T. Tran, E. Gherbi, H. Hajri, N. Masmoudi",
        "SEEDS: Exponential SDE Solvers for Fast High-Quality Sampling from Diffusion Models",
        "NeurIPS",
        2023,
        "arXiv:2305.14267",
    ),
    Reference(
        "hochbruck2010exponential",
        "M. Hochbruck, A. Ostermann",
        "Exponential integrators",
        "Acta Numerica 19",
        2010,
        "doi:10.1017/S0962492910000048",
    ),
    Reference(
        "cox2002etd",
        "S. M. Cox, P. C. Matthews",
        "Exponential Time Differencing for Stiff Systems",
        "Journal of Computational Physics 176",
        2002,
        "doi:10.1006/jcph.2002.6995",
    ),
    Reference(
        "krogstad2005",
        "S. Krogstad",
        "Generalized integrating factor methods for stiff PDEs",
        "Journal of Computational Physics 203",
        2005,
        "doi:10.1016/j.jcp.2004.08.006",
    ),
    Reference(
        "crowson2022kdiffusion",
        "K. Crowson",
        "k-diffusion",
        "software",
        2022,
        "github.com/crowsonkb/k-diffusion",
    ),
    Reference(
        "pandey2023complete",
        "K. Pandey, S. Mandt",
        "A Complete Recipe for Diffusion Generative Models",
        "ICCV",
        2023,
        "arXiv:2303.01748",
    ),
    Reference(
        "pandey2024efficient",
        "K. Pandey, M. Rudolph, S. Mandt",
        "Efficient Integrators for Diffusion Generative Models",
        "ICLR",
        2024,
        "arXiv:2310.07894",
    ),
    Reference(
        "pandey2024fast",
        "K. Pandey, M. Rudolph, S. Mandt",
        "Towards Fast Stochastic Sampling in Diffusion Generative Models",
        "arXiv",
        2024,
        "arXiv:2402.07211",
    ),
    Reference(
        "dockhorn2022cld",
        "T. Dockhorn, A. Vahdat, K. Kreis",
        "Score-Based Generative Modeling with Critically-Damped Langevin Diffusion",
        "ICLR",
        2022,
        "arXiv:2112.07068",
    ),
    Reference(
        "zhang2023gddim",
        "Q. Zhang, M. Tao, Y. Chen",
        "gDDIM: Generalized denoising diffusion implicit models",
        "ICLR",
        2023,
        "arXiv:2206.05564",
    ),
    Reference(
        "song2019ncsn",
        "Y. Song, S. Ermon",
        "Generative Modeling by Estimating Gradients of the Data Distribution",
        "NeurIPS",
        2019,
        "arXiv:1907.05600",
    ),
    Reference(
        "song2020ncsnv2",
        "Y. Song, S. Ermon",
        "Improved Techniques for Training Score-Based Generative Models",
        "NeurIPS",
        2020,
        "arXiv:2006.09011",
    ),
    Reference(
        "ma2025pds",
        "H. Ma, X. Zhu, J. Feng, L. Zhang",
        "Preconditioned Score-based Generative Models",
        "International Journal of Computer Vision",
        2025,
        "arXiv:2302.06504",
    ),
    Reference(
        "ma2022tdas",
        "H. Ma, L. Zhang, X. Zhu, J. Zhang, J. Feng",
        "Accelerating Score-based Generative Models for High-Resolution Image Synthesis",
        "arXiv",
        2022,
        "arXiv:2206.04029",
    ),
    Reference(
        "sgmsolve",
        "The sgmsolve authors",
        "sgmsolve: this package",
        "software",
        2026,
    ),
]

REFERENCES = {r.key: r for r in _ALL}
