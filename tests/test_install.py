"""Installs into a folder of its own, and checks what a user of the library relies on: files, pkg-config, exported symbols, and a
program that builds against the installed tree with the static and with the shared library."""
import os
import pathlib
import re
import shlex
import subprocess
import tempfile
import unittest

BINARY = pathlib.Path(os.environ["WEFT_BINARY_DIR"])
PROGRAM = """#include <stdio.h>
#include "weft.h"
int main(void)
{
    weft_net *net;
    if (weft_net_create(&net) != WEFT_OK) {
        return 1;
    }
    weft_net_destroy(net);
    return puts(weft_status_name(WEFT_E_BASE_MISMATCH)) < 0;
}
"""


def run(*command, **more):
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False, **more)
    assert done.returncode == 0, f"{shlex.join(map(str, command))}\n{done.stdout}{done.stderr}"
    return done.stdout


class Install(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.folder.cleanup)
        cls.prefix = pathlib.Path(cls.folder.name, "moved")
        run(os.environ["WEFT_CMAKE"], "--install", BINARY, "--prefix", pathlib.Path(cls.folder.name, "prefix"))
        pathlib.Path(cls.folder.name, "prefix").rename(cls.prefix)  # .pc files must stand a move
        cls.library = next(cls.prefix.rglob("libweft.a")).parent

    def pkg_config(self, *arguments):
        environment = dict(os.environ, PKG_CONFIG_PATH=str(self.library / "pkgconfig"))
        return run("pkg-config", *arguments, env=environment).split()

    def exported(self, name):
        return {line.split()[-1] for line in run("nm", "-D", "--defined-only", self.library / name).splitlines()}

    def test_files(self):
        for name in ("weft.h", "weft_errors.h", "weft_states.h"):
            self.assertTrue((self.prefix / "include" / name).is_file(), name)
        for name in ("libweft.a", "libweft.so", "libweft.so.0", "libweft-net.a", "libweft-net.so", "libweft-net.so.0"):
            self.assertTrue((self.library / name).exists(), name)
        self.assertIn("usage", run(self.prefix / "bin" / "weft", "--help").lower())

    def test_exports_are_the_public_header(self):
        header = (self.prefix / "include" / "weft.h").read_text(encoding="utf-8")
        declared = set(re.findall(r"^WEFT_API [^;(]*?(\w+)\(", header, flags=re.MULTILINE))
        self.assertGreater(len(declared), 50)
        # Names with an underscore in front are the compiler's: sanitizers and coverage export some.
        exported = {s for s in self.exported("libweft.so") | self.exported("libweft-net.so") if s[0] != "_"}
        self.assertEqual(declared, exported)

    def test_program(self):
        source = pathlib.Path(self.folder.name, "program.c")
        source.write_text(PROGRAM, encoding="utf-8")
        compiler = [os.environ["WEFT_CC"], "-std=c17", "-Wall", "-Wextra", "-Werror",
                    *shlex.split(os.environ["WEFT_CFLAGS"]), source]
        private = self.pkg_config("--libs", "--static", "weft-net")
        static = [f"-l:lib{word[2:]}.a" if word in ("-lweft", "-lweft-net") else word for word in private]
        shared = [*self.pkg_config("--libs", "weft-net"), f"-Wl,-rpath,{self.library}"]
        for libraries in (static, shared):
            program = pathlib.Path(self.folder.name, "program")
            run(*compiler, *self.pkg_config("--cflags", "weft-net"), "-o", program, *libraries)
            self.assertEqual(run(program), "WEFT_E_BASE_MISMATCH\n")


if __name__ == "__main__":
    unittest.main()
