rockspec_format = "3.0"
package = "lmm-vips"
version = "scm-1"
source = { url = "git+file://." }
description = {
  summary = "Prepares pictures for lmm with libvips",
  detailed = [[
    The optional C module lmm.vips: pictures and pages of PDFs turned upright, shrunk and converted before they are sent
    to a model. It is built by make, since pkg-config knows where libvips' headers are: luarocks make
    src/lmm-vips-scm-1.rockspec, from the project's folder.]],
  license = "MIT",
}
dependencies = { "lua >= 5.1, < 5.5", "lmm" }
external_dependencies = { VIPS = { library = "vips" } }
build = {
  type = "make",
  build_target = "vips",
  build_variables = { LUA = "$(LUA)", LUA_INCDIR = "$(LUA_INCDIR)", VARIANT = "$(LUA_INCDIR)", NEED = "true" },
  install_target = "install-vips",
  install_variables = { LUA = "$(LUA)", LUA_INCDIR = "$(LUA_INCDIR)", VARIANT = "$(LUA_INCDIR)", LIBDIR = "$(LIBDIR)" },
}
