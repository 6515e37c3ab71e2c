"""Publishes standard input's lines with paho at QoS 1, one message a line, and ends when all are acknowledged.

usage: publish.py HOST PORT USER PASSWORD TOPIC VERSION(3|5)
"""

import sys

import paho.mqtt.client as mqtt

host, port, user, password, topic, version = sys.argv[1:7]
protocol = mqtt.MQTTv5 if version == "5" else mqtt.MQTTv311
client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=f"paho-{version}", protocol=protocol)
client.username_pw_set(user, password)
client.connect(host, int(port))
client.loop_start()
for message in [client.publish(topic, line.strip(), qos=1) for line in sys.stdin if line.strip()]:
    message.wait_for_publish(20)
    if not message.is_published():
        sys.exit("not acknowledged within 20 s")
client.disconnect()
client.loop_stop()
