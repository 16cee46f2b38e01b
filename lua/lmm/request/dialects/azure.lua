--- OpenAI's models at Azure.
return {
  name = "azure",
  title = "Azure",
  hosts = { "%.openai%.azure%.com$", "%.cognitiveservices%.azure%.com$", "%.services%.ai%.azure%.com$" },
  forms = { audio = "input_audio", video = false },
  decodes = { ["image/jpeg"] = true, ["image/png"] = true, ["image/webp"] = true, ["image/gif"] = true },
  structured = { heeds = {}, schema = { "response_format" }, choice = { "response_format", as = "object" } },
}
