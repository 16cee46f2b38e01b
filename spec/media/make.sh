#!/bin/sh
# Makes the files of this folder anew: one small file of each type that lmm knows, with odd sizes, so that a swapped
# width and height shows. Needs ffmpeg, ImageMagick 6 and heif-enc (libheif), as Debian 12 has them.
set -eu
cd "$(dirname "$0")"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

picture="-size 37x23 gradient:red-blue -strip"
convert $picture -depth 8 "PNG24:$work/picture.png"

convert $picture -quality 60 baseline.jpg
convert $picture -quality 60 -interlace JPEG progressive.jpg
convert $picture PNG24:picture.png
convert $picture picture.gif
convert $picture -quality 50 lossy.webp
convert $picture -define webp:lossless=true lossless.webp
convert $picture -alpha set -channel A -evaluate set 50% -quality 50 extended.webp
convert $picture -type TrueColor BMP3:picture.bmp
convert $picture -define tiff:endian=lsb -compress LZW little.tiff
convert $picture -define tiff:endian=msb -compress LZW big.tiff
heif-enc -q 30 -A -o picture.avif "$work/picture.png" > "$work/log"
heif-enc -q 30 -o picture.heic "$work/picture.png" > "$work/log"

# A JPEG as cameras and editors write them: EXIF that says "rotate by 90 degrees", then a long segment, and only then
# the frame header. The long one is an APP15, which means nothing to anyone.
{
  printf '\377\330\377\341\000\042Exif\000\000MM\000\052\000\000\000\010'
  printf '\000\001\001\022\000\003\000\000\000\001\000\006\000\000\000\000\000\000'
  printf '\377\357\023\210' # 5000 bytes, counting the length's own two
  head -c 4998 /dev/zero
  tail -c +3 baseline.jpg
} > exif.jpg

printf '%s\n' '%PDF-1.4' '1 0 obj <</Type/Catalog/Pages 2 0 R>> endobj' \
  '2 0 obj <</Type/Pages/Kids[3 0 R]/Count 1>> endobj' \
  '3 0 obj <</Type/Page/Parent 2 0 R/MediaBox[0 0 37 23]>> endobj' \
  'xref' '0 4' '0000000000 65535 f ' '0000000009 00000 n ' '0000000054 00000 n ' '0000000105 00000 n ' \
  'trailer <</Size 4/Root 1 0 R>>' 'startxref' '168' '%%EOF' > document.pdf

make() { ffmpeg -nostdin -loglevel error -y -bitexact "$@"; }
frames="-f lavfi -i color=teal:size=38x22:rate=5:duration=0.6"
tone="-f lavfi -i sine=frequency=440:sample_rate=16000:duration=0.2"
plain="-fflags +bitexact -flags +bitexact -map_metadata -1"
make $frames -c:v libx264 -preset veryfast -pix_fmt yuv420p $plain clip.mp4
make $frames -c:v libx264 -preset veryfast -pix_fmt yuv420p $plain clip.mov
make $frames -c:v libvpx $plain clip.webm
make $frames -c:v mpeg4 $plain clip.mkv
make $frames -c:v mpeg4 $plain clip.avi
make $frames -c:v libtheora $plain clip.ogv
make -f lavfi -i sine=frequency=440:sample_rate=8000:duration=0.1 $plain sound.wav
make $tone -c:a libmp3lame -b:a 16k $plain -id3v2_version 0 -write_xing 0 plain.mp3
make $tone -c:a libmp3lame -b:a 16k -fflags +bitexact -id3v2_version 3 -metadata title=Tone tagged.mp3
make -f lavfi -i sine=frequency=440:sample_rate=8000:duration=0.1 -c:a flac -metadata_header_padding 0 $plain sound.flac
make $tone -c:a libopus -b:a 12k $plain sound.ogg
make $tone -c:a aac -b:a 16k $plain sound.m4a
