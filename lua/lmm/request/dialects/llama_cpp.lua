--- llama-server of llama.cpp. It takes audio and video by their base64 alone, and looks at the bytes, not at `format`.
--- WebP it decodes only where it was built with ffmpeg, and is not asked to.
return {
  name = "llama.cpp",
  title = "llama-server",
  forms = { audio = "input_audio", video = "input_video", file = false },
  decodes = { ["image/jpeg"] = true, ["image/png"] = true, ["image/gif"] = true, ["image/bmp"] = true,
    ["image/x-tga"] = true, ["image/vnd.adobe.photoshop"] = true, ["image/x-portable-pixmap"] = true,
    ["image/x-portable-graymap"] = true },
  structured = { heeds = { grammar = true, json_schema = true }, schema = { "response_format" },
    choice = { "response_format", as = "string" }, grammar = { "grammar" },
    regex = "give a grammar (GBNF), or a schema with a pattern" },
}
