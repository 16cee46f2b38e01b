--- LM Studio: pictures alone.
return {
  name = "lmstudio",
  title = "LM Studio",
  forms = { audio = false, video = false, file = false },
  decodes = { ["image/jpeg"] = true, ["image/png"] = true, ["image/webp"] = true },
  structured = { heeds = {}, schema = { "response_format" }, choice = { "response_format", as = "object" } },
}
