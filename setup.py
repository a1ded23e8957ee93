from setuptools import setup
from setuptools.command.sdist import sdist


class SourceDistribution(sdist):
    """Without tests, which are taken by default but not with all that they need."""

    def make_distribution(self):
        """Leave out what is in the folder of the tests."""
        self.filelist.prune("tests")
        super().make_distribution()


setup(cmdclass={"sdist": SourceDistribution})
