#!/usr/bin/python3
"""An RTSP server with a moving test picture: rtsp_server.py PORT FIRST-MEDIA-PORT LAST-MEDIA-PORT.

Media over UDP leaves from the media ports given; the stream is called /test.
"""

import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer

port, first, last = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
Gst.init(None)
server = GstRtspServer.RTSPServer()
server.set_service(port)
pool = GstRtspServer.RTSPAddressPool()
pool.add_range(GstRtspServer.RTSP_ADDRESS_POOL_ANY_IPV4, GstRtspServer.RTSP_ADDRESS_POOL_ANY_IPV4, first, last, 0)
factory = GstRtspServer.RTSPMediaFactory()
factory.set_launch(
    "( videotestsrc is-live=true ! video/x-raw,width=320,height=240,framerate=25/1 "
    "! x264enc tune=zerolatency key-int-max=25 bitrate=300 ! rtph264pay name=pay0 pt=96 )"
)
factory.set_address_pool(pool)
factory.set_shared(True)
server.get_mount_points().add_factory("/test", factory)
if server.attach(None) == 0:
    sys.exit(f"cannot listen at port {port}")
GLib.MainLoop().run()
