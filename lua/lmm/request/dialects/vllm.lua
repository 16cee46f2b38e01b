--- vLLM: the types are what Pillow decodes in its image (0.32), the forms those of its chat_utils.py.
local decodes = {}
for name in ("jpeg png webp gif tiff bmp avif x-tga x-icon x-portable-bitmap x-portable-graymap x-portable-pixmap "
  .. "x-win-bitmap x-pcx jp2 x-jp2-codestream vnd.adobe.photoshop icns qoi fits"):gmatch "%S+" do
  decodes["image/" .. name] = true
end

return {
  name = "vllm",
  title = "vLLM",
  forms = { file = false },
  decodes = decodes,
  caches = true,
  structured = { heeds = { structured_outputs = true }, schema = { "response_format" },
    choice = { "structured_outputs", "choice" }, regex = { "structured_outputs", "regex" },
    grammar = { "structured_outputs", "grammar" } },
}
