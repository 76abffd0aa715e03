# Flask reads these
FLASK_APP=app.py
FLASK_RUN_HOST="0.0.0.0"
